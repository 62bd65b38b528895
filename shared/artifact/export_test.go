package artifact

import "io"

// ProveEvery is which blocks are proven without ProveAll.
const ProveEvery = proveEvery

// BlockSize is how much of a dump is encoded at once.
const BlockSize = blockSize

// Encode is what an encoder does with one block: it appends the encoding to dst.
type Encode = func(dst, block []byte) ([]byte, error)

// NewWriterEncoding is NewWriter with another function in place of its encoder's.
func NewWriterEncoding(dst io.Writer, c Codec, keys *AESKeys, instead func(Encode) Encode) (*Writer, error) {
	return newWriter(dst, c, keys, func(e *encoder) { e.encode = instead(e.encode) })
}

// NewWriterProving is NewWriter that tells of each block when it is proven.
func NewWriterProving(dst io.Writer, c Codec, keys *AESKeys, proven func(block []byte)) (*Writer, error) {
	return newWriter(dst, c, keys, func(e *encoder) {
		decode := e.decode
		e.decode = func(dst, encoded []byte) ([]byte, error) {
			out, err := decode(dst, encoded)
			proven(out)
			return out, err
		}
	})
}

// GzipTail is what follows the last block of a gzip member.
func GzipTail(crc uint32, size int64) []byte {
	e, err := newGzipEncoder(1, 1)
	if err != nil {
		panic(err)
	}
	return e.tail(crc, size)
}
