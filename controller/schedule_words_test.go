package controller_test

import (
	"testing"

	"devflowbackup/controller"
)

func TestRetention_Words(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]controller.Retention{
		"the newest backup of each of the last 24 hours, 7 days, 4 weeks and 3 months that have one":                    {Hourly: 24, Daily: 7, Weekly: 4, Monthly: 3},
		"the newest backup of each of the last 7 days and 1 month that have one, and every backup younger than 30 days": {Daily: 7, Monthly: 1, Days: 30},
		"the newest backup of the last week that has one":                                                               {Weekly: 1},
		"the newest backup of each of the last 2 weeks that have one":                                                   {Weekly: 2},
		"every backup younger than 1 day":                                                                               {Days: 1},
	} {
		if got := r.Words(); got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
}
