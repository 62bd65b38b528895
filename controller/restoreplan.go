package controller

import "devflowbackup/shared/wire"

// PlanRestore tells what a restore or an undo would meet and do. found is what the agent saw at the target; without it, lookErr says why
// the agent could not look, and only what the catalog knows is told. A plan that CanStart has nothing that is known to stop it.
func PlanRestore(d Draft, found *wire.Target, lookErr error) RestorePlan {
	return RestorePlan{}
}
