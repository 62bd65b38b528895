package controller

// DurationBounds are the upper bounds, in seconds, of the buckets in which ended jobs are counted; one more bucket holds what is longer.
var DurationBounds = []float64{1, 5, 15, 60, 300, 900, 3600, 14400, 43200}
