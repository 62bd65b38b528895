// Package artifact is the stored form of a backup: codecs, file names, and the signed manifest.
//
// Invariant: an artifact is complete or it is an error. A Writer makes a clean end only when Close is called
// on an unbroken stream, and a Reader returns io.EOF only after every stored byte has been decoded and every
// expected size and checksum has matched. Everything in between is a *DamageError, a *WrongKeyError or the
// error of the stream below, never a short success.
//
// The bytes are plain standard formats (zstd, age), so that zstd, age and sha256sum read them without us.
// Memory is bounded whatever the size: see Writer and Reader.
package artifact

// blockSize is how much of the dump goes into one independently compressed block.
const blockSize = 4 << 20
