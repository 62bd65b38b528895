package controller

import (
	"fmt"
	"slices"
	"strings"

	"devflowbackup/shared/artifact"
)

// Codecs of a backup.
const (
	CompressionZstd = artifact.Zstd
	CompressionGzip = artifact.Gzip
	CompressionNone = artifact.None
	EncryptionAge   = artifact.Age
	EncryptionAES   = artifact.AES256CBC
	EncryptionNone  = artifact.None
)

// Compressions and Encryptions list what a backup may ask for.
var (
	Compressions = []string{CompressionZstd, CompressionGzip, CompressionNone}
	Encryptions  = []string{EncryptionAge, EncryptionAES, EncryptionNone}
)

// maxLevel is a compression's highest level; the lowest is 1, and 0 takes its default.
var maxLevel = map[string]int{CompressionZstd: 19, CompressionGzip: 9}

func validCompression(name string, level int) error {
	if !slices.Contains(Compressions, name) {
		return Invalid("compression", "%q is not allowed; use %s", name, orList(Compressions))
	}
	if level >= 0 && level <= maxLevel[name] {
		return nil
	}
	if maxLevel[name] == 0 {
		return Invalid("level", "%d is not allowed with compression %s; leave it out", level, name)
	}
	return Invalid("level", "%d is not allowed with compression %s; use 1 to %d, or leave it out", level, name, maxLevel[name])
}

func validEncryption(field, name string) error {
	if !slices.Contains(Encryptions, name) {
		return Invalid(field, "%q is not allowed; use %s", name, orList(Encryptions))
	}
	return nil
}

// orList is "a, b or c".
func orList(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return fmt.Sprintf("%s or %s", strings.Join(names[:last], ", "), names[last])
}
