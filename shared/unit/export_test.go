package unit

// In makes the daemon look for what a package has installed below root.
func (d Daemon) In(root string) Daemon {
	d.root = root
	return d
}

// Holder is holder.
func Holder(path string) (int, error) { return holder(path) }
