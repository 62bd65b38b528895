package artifact

import "strings"

// Codecs returns every pair of a compression and an encryption that artifacts know, without levels and recipients.
func Codecs() []Codec {
	all := make([]Codec, 0, len(compressions)*len(encryptions))
	for _, c := range compressions {
		for _, e := range encryptions {
			all = append(all, Codec{Compression: c.name, Encryption: e.name})
		}
	}
	return all
}

// CodecOf tells by its suffix how an artifact at the key is encoded: the pair with the longest suffix that the key has.
func CodecOf(key string) Codec {
	best := Codec{Compression: None, Encryption: None}
	for _, c := range Codecs() {
		if s := c.Suffix(); strings.HasSuffix(key, s) && len(s) > len(best.Suffix()) {
			best = c
		}
	}
	return best
}
