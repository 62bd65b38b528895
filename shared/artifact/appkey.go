package artifact

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
)

const appKeyPrefix = "base64:"

// NewAppKey makes a project's app key: "base64:" and 32 random bytes, as Laravel writes its own.
func NewAppKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return appKeyPrefix + base64.StdEncoding.EncodeToString(key)
}

// AppKeyBytes returns what keys are derived from: the decoded bytes of a key that begins with "base64:", else the bytes of
// the text itself. White space around it does not count. The error shows nothing of the key.
func AppKeyBytes(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	key := []byte(text)
	if encoded, ok := strings.CutPrefix(text, appKeyPrefix); ok {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, errors.New("app key is not base64 after \"base64:\"")
		}
	}
	if len(key) < minAppKey {
		return nil, errors.New("app key is shorter than 16 bytes")
	}
	return key, nil
}
