package retention

import (
	"cmp"
	"fmt"
	"slices"

	"devflowbackup/controller"
)

// summary is the result of a clean-up while it is made. It counts everything and holds no more items of each action than may be
// answered.
type summary struct {
	totals  controller.CleanupResult // without items
	items   map[string][]controller.CleanupItem
	seen    int
	problem string // the first one
}

func newSummary(dryRun bool) *summary {
	return &summary{totals: controller.CleanupResult{DryRun: dryRun}, items: map[string][]controller.CleanupItem{}}
}

func (s *summary) add(item controller.CleanupItem) {
	switch {
	case item.Error != "":
		s.totals.Failed++
		if s.problem == "" {
			s.problem = fmt.Sprintf("backup %d: %s", item.BackupID, item.Error)
		}
	case item.Action == Remove:
		s.totals.Removed++
		s.totals.RemovedBytes += item.FileSize
	case item.Action == Later:
		s.totals.Postponed++
	default:
		s.totals.Kept++
	}
	s.seen++
	if len(s.items[item.Action]) < controller.MaxCleanupItems {
		s.items[item.Action] = append(s.items[item.Action], item)
	}
}

// fail counts a database of which nothing is known.
func (s *summary) fail(database int64) {
	s.totals.Failed++
	if s.problem == "" {
		s.problem = fmt.Sprintf("database %d: an internal error; the controller's log has it", database)
	}
}

// since is what came after an earlier state of the totals; what is kept is not added up.
func (s *summary) since(before controller.CleanupResult) controller.CleanupResult {
	return controller.CleanupResult{
		Kept: s.totals.Kept, Postponed: s.totals.Postponed,
		Removed: s.totals.Removed - before.Removed, RemovedBytes: s.totals.RemovedBytes - before.RemovedBytes, Failed: s.totals.Failed - before.Failed,
	}
}

// result has the items in the order in which people look at them.
func (s *summary) result() controller.CleanupResult {
	res := s.totals
	res.Items = []controller.CleanupItem{}
	for _, action := range []string{Remove, Later, Keep} {
		items := s.items[action]
		slices.SortStableFunc(items, func(a, b controller.CleanupItem) int {
			if (a.Error == "") != (b.Error == "") {
				return cmp.Compare(b.Error, a.Error) // what failed comes first
			}
			return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Server, b.Server), cmp.Compare(a.DatabaseName, b.DatabaseName))
		})
		res.Items = append(res.Items, items[:min(len(items), controller.MaxCleanupItems-len(res.Items))]...)
	}
	res.Truncated = s.seen > len(res.Items)
	return res
}
