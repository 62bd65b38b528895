// Package artifact is the stored form of a backup: codecs, file names, and the signed manifest.
//
// Invariant: an artifact is complete or it is an error. A Writer makes a clean end only when Close is called
// on an unbroken stream, and a Reader returns io.EOF only after every stored byte has been decoded and every
// expected size and checksum has matched. Everything in between is a *DamageError, a *WrongKeyError or the
// error of the stream below, never a short success.
//
// Memory is bounded whatever the size: see Writer and Reader.
//
// # Stored bytes
//
// The bytes are plain standard formats. The file name's suffixes tell them, from right to left: how to decrypt, then how to
// decompress. There is nothing around them, before them or behind them, and the checksum is that of the whole file:
// sha256sum prints the manifest's stored_sha256.
//
//	.age  age v1 to one or more X25519 recipients. age -d -i KEYFILE FILE
//	.enc  aes-256-cbc, see below
//	.zst  zstd: independent frames of 4 MiB of the dump, each with its content size and checksum. zstd -d
//	.gz   gzip: one member, so that readers that stop after the first read all of it; no name, no time. Each 4 MiB of the
//	      dump is compressed without regard to what is before it. gunzip
//
// The file of aes-256-cbc is 16 random bytes, the IV, and one stream of AES-256 in CBC mode with PKCS#7 padding: 17 to 32
// bytes longer than what is in it. The format proves nothing by itself; the MAC in the manifest does:
//
//	mac = HMAC-SHA-256(MAC key, SHA-256 of the stored bytes as its 32 bytes)
//
// Each object of each attempt has two keys of its own, by HKDF-SHA-256 from the bytes of the project's app key: see
// DeriveAESKeys and AppKeyBytes. The attempt id are the 16 characters before the first dot after the time in the file name.
// By hand, for FILE, an artifact (for side objects the info ends in "fingerprint" or "globals"):
//
//	hex() { od -An -v -tx1 | tr -d ' \n'; }
//	app=$(printf %s "${APPKEY#base64:}" | base64 -d | hex)   # or, of a key that does not begin with base64: printf %s "$APPKEY" | hex
//	derive() {
//	  openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt "hexkey:$app" -kdfopt "salt:$ATTEMPT" \
//	    -kdfopt "info:devflow-backup v1 $1 artifact" HKDF | tr -d ':\n'
//	}
//	openssl dgst -sha256 -binary "$FILE" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(derive hmac-sha256)"   # prints the manifest's mac
//	tail -c +17 "$FILE" | openssl enc -d -aes-256-cbc -K "$(derive aes-256-cbc)" -iv "$(head -c 16 "$FILE" | hex)" > "$OUT"
//
// The commands show the keys to whoever lists processes meanwhile: do it on a machine of your own.
package artifact

// blockSize is how much of the dump goes into one independently compressed block.
const blockSize = 4 << 20
