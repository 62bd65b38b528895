package metrics

// ReadTimeout and SeriesEach are the package's.
const (
	ReadTimeout = readTimeout
	SeriesEach  = seriesEach
)
