package tool

// Buffering is the environment that loads the library of that path, or why it is not loaded.
func Buffering(path string) ([]string, error) { return buffering(path) }

// OutputBuffer is how much a program with Command.Buffered gathers before it writes.
const OutputBuffer = outputBuffer
