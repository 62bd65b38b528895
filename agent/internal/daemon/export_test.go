package daemon

// Stall makes the agent look as if a loop or a command had come to a halt long ago. what is lease, beat or command.
func (d *Daemon) Stall(what string) {
	long := -10 * int64(commandPatience)
	switch what {
	case "lease":
		d.turns.lease.Store(long)
	case "beat":
		d.turns.beat.Store(long)
	case "command":
		d.turns.command.Store(long)
	}
}
