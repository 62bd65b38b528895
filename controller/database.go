package controller

// DatabaseRef names one database that an agent found: by id, or by its exact name, with server and instance where the name
// alone is ambiguous.
type DatabaseRef struct {
	ID       int64
	Server   string // name or id
	Instance string
	Name     string
}
