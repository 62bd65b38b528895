package fleet

import (
	"crypto/sha256"
	"encoding"
	"hash"
	"slices"
	"sync"

	"devflowbackup/controller"
)

const (
	markEvery     = 8 << 20 // bytes from one mark to the next, more where an object would have over marksOfOne
	marksOfOne    = 1024
	markedObjects = 64
)

// proofs remembers how far the checksums of downloads had come, so that one that is resumed need not read all that went before: the
// state of a SHA-256 after each few megabytes. It is a convenience: what it has forgotten is read again, and what it has is worth
// only what the whole checksum says at the end. Memory: about 8 MiB at most.
type proofs struct {
	mu    sync.Mutex
	marks map[string][]mark // by object, rising
	order []string          // of the objects, oldest first
}

type mark struct {
	at    int64
	state []byte
}

func proofKey(o controller.StoredObject) string { return o.StoredSHA256 + " " + o.Key }

// resume returns the checksum over the object's first at bytes, at not beyond offset: zero where nothing is remembered.
func (p *proofs) resume(o controller.StoredObject, offset int64) (at int64, sum hash.Hash) {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum = sha256.New()
	for _, m := range slices.Backward(p.marks[proofKey(o)]) {
		if u, ok := sum.(encoding.BinaryUnmarshaler); ok && m.at <= offset && u.UnmarshalBinary(m.state) == nil {
			return m.at, sum
		}
	}
	return 0, sha256.New()
}

// note keeps the checksum over the first at bytes.
func (p *proofs) note(o controller.StoredObject, at int64, sum hash.Hash) {
	m, ok := sum.(encoding.BinaryMarshaler)
	if !ok {
		return
	}
	state, err := m.MarshalBinary()
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	key := proofKey(o)
	marks, known := p.marks[key]
	if n := len(marks); n > 0 && marks[n-1].at >= at {
		return // another download is further
	}
	if p.marks == nil {
		p.marks = map[string][]mark{}
	}
	if !known {
		if len(p.order) == markedObjects {
			delete(p.marks, p.order[0])
			p.order = p.order[1:]
		}
		p.order = append(p.order, key)
	}
	p.marks[key] = append(marks, mark{at, state})
}

// forget drops what turned out not to lead to the object's checksum.
func (p *proofs) forget(o controller.StoredObject) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := proofKey(o)
	delete(p.marks, key)
	p.order = slices.DeleteFunc(p.order, func(k string) bool { return k == key })
}

// prover takes an object's bytes and notes the checksum on the way.
type prover struct {
	proofs *proofs
	o      controller.StoredObject
	sum    hash.Hash
	at     int64
	next   int64 // mark
	every  int64
}

func (p *proofs) prover(o controller.StoredObject, at int64, sum hash.Hash) *prover {
	every := max(markEvery, o.StoredSize/marksOfOne)
	return &prover{proofs: p, o: o, sum: sum, at: at, next: at + every, every: every}
}

func (v *prover) Write(b []byte) (int, error) {
	_, _ = v.sum.Write(b)
	if v.at += int64(len(b)); v.at >= v.next {
		v.proofs.note(v.o, v.at, v.sum)
		v.next = v.at + v.every
	}
	return len(b), nil
}
