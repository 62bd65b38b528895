package body

// IgnoreDatabase records why a database need not be backed up.
type IgnoreDatabase struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"For those who wonder why it is not backed up"`
}
