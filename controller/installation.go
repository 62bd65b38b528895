package controller

// Installation is what the first start made: what makes a catalog this installation. Every value but UID is sealed or one-way.
type Installation struct {
	UID          string
	CheckValue   []byte            // opens only under the right master key
	EscrowMaster []byte            // the master key, encrypted to the recovery key
	Secrets      map[string][]byte // sealed under the master key
}
