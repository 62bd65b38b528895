package controller

// Limits bound what a project may use. Nil is no limit.
type Limits struct {
	MaxJobsPerHour *int64 `json:"max_jobs_per_hour"` // backups that are ordered within any hour, by whomever
	MaxBytesPerDay *int64 `json:"max_bytes_per_day"` // of artifacts that are completed within any 24 hours: above it no backup is ordered
}

// Highest limits.
const (
	highestJobsPerHour = 1_000_000
	highestBytesPerDay = 1 << 60
)

// Validate names the first field that is wrong.
func (l Limits) Validate() error {
	for _, f := range []struct {
		name    string
		value   *int64
		highest int64
	}{{"max_jobs_per_hour", l.MaxJobsPerHour, highestJobsPerHour}, {"max_bytes_per_day", l.MaxBytesPerDay, highestBytesPerDay}} {
		if f.value != nil && (*f.value < 1 || *f.value > f.highest) {
			return Invalid(f.name, "%d is not allowed; use 1 to %d, or null for no limit", *f.value, f.highest)
		}
	}
	return nil
}
