package dovecot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func checkStats(k *checker) error {
	metrics, exporters := k.list("metric"), k.list("event_exporter")
	names := map[string]bool{}
	for _, e := range exporters {
		names[e.str("name")] = true
	}
	for _, m := range metrics {
		if e := m.str("exporter"); e != "" && len(exporters) > 0 && !names[e] {
			return fmt.Errorf("metric %s refers to non-existent exporter '%s'", m.str("metric_name"), e)
		}
	}
	for _, m := range metrics {
		if err := checkMetric(m); err != nil {
			return err
		}
	}
	for _, e := range exporters {
		if err := checkExporter(e); err != nil {
			return err
		}
	}
	return nil
}

func checkMetric(m view) error {
	name, filter := m.str("metric_name"), m.str("filter")
	if name == "" {
		return fmt.Errorf("Metric name can't be empty")
	}
	if filter == "" {
		return fmt.Errorf("metric %s { filter } is empty - will not match anything", name)
	}
	if err := checkEventFilter(filter); err != nil {
		return err
	}
	for field := range strings.FieldsFuncSeq(m.str("group_by"), isSpaceRune) {
		if err := checkGroupBy(strings.Split(field, ":")); err != nil {
			return err
		}
	}
	return nil
}

// checkGroupBy checks "field", "field:discrete" or "field:function:min:max:number".
func checkGroupBy(p []string) error {
	if len(p) == 1 {
		return nil
	}
	switch p[1] {
	case "discrete":
		if len(p) > 2 {
			return fmt.Errorf("group_by 'discrete' aggregate function does not take any args")
		}
	case "exponential", "linear":
		return checkBuckets(p[1], p[2:])
	default:
		return fmt.Errorf("unknown aggregation function '%s' on field '%s'", p[1], p[0])
	}
	return nil
}

func checkBuckets(function string, args []string) error {
	var n [3]int64
	for i := range n {
		var err error
		if len(args) == len(n) {
			n[i], err = strconv.ParseInt(args[i], 10, 64)
		}
		if err != nil || len(args) != len(n) {
			return fmt.Errorf("group_by '%s' aggregate function takes 3 int args", function)
		}
	}
	least, most, number := n[0], n[1], n[2]
	switch {
	case least < 0 || most < 0 || number < 0:
		return fmt.Errorf("group_by '%s' aggregate function arguments must be >= 0", function)
	case least >= most:
		return fmt.Errorf("group_by '%s' aggregate function min must be < max (%d must be < %d)", function, least, most)
	case function == "exponential" && number != 2 && number != 10:
		return fmt.Errorf("group_by 'exponential' aggregate function base must be one of: 2, 10 (base=%d)", number)
	case function == "linear" && least+number > most:
		return fmt.Errorf("group_by 'linear' aggregate function min+step must be <= max (%d must be <= %d)", least+number, most)
	}
	return nil
}

func checkExporter(e view) error {
	format, transport := e.str("format"), e.str("transport")
	switch {
	case e.str("name") == "":
		return fmt.Errorf("Exporter name can't be empty")
	case format == "":
		return fmt.Errorf("Exporter format name can't be empty")
	case !slices.Contains([]string{"none", "json", "tab-text"}, format):
		return fmt.Errorf("Unknown exporter format '%s'", format)
	case transport == "":
		return fmt.Errorf("Exporter transport name can't be empty")
	case !slices.Contains([]string{"drop", "http-post", "log"}, transport):
		return fmt.Errorf("Unknown transport type '%s'", transport)
	}
	timeFormat := ""
	for arg := range strings.FieldsFuncSeq(e.str("format_args"), isSpaceRune) {
		if arg != "time-rfc3339" && arg != "time-unix" {
			return fmt.Errorf("Unknown exporter format arg: %s", arg)
		}
		if timeFormat != "" && timeFormat != arg {
			return fmt.Errorf("Exporter '%s' specifies multiple time format args", e.str("name"))
		}
		timeFormat = arg
	}
	if timeFormat == "" && format != "none" {
		return fmt.Errorf("%s exporter format requires a time-* argument", format)
	}
	return nil
}
