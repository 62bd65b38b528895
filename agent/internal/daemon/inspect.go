package daemon

import "devflowbackup/shared/wire"

// onInspect looks at a restore's target.
func (d *Daemon) onInspect(m wire.Directive) any {
	reply := wire.InspectReply{V: wire.Version, Session: d.session}
	var o wire.InspectOrder
	if err := m.Into(&o); err != nil {
		reply.Failure = wire.Failf(wire.CodeBadRequest, "%w", err)
	} else {
		reply.Target, reply.Failure = d.runner.Inspect(o)
	}
	if reply.Failure != nil {
		d.log.Debug("look at a restore's target", "instance", o.Instance, "database", o.Database, "err", reply.Failure)
	}
	return reply
}
