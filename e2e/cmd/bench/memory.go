package main

type memory struct {
	DumpBytes, StoredBytes int64
	Peaks                  []peak
}
type peak struct {
	After                            string
	Seconds, AgentMiB, ControllerMiB float64
}

func memoryResults([]memory) []result { return nil }
