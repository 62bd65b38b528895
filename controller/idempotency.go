package controller

// StoredResponse is the answer that a request with an Idempotency-Key had; a repetition of the request has the same.
type StoredResponse struct {
	Status int
	Body   []byte
}
