package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// bar is a server in a chart.
type bar struct {
	peer, label string
	spread
}

// group is a load in a chart.
type group struct {
	title string
	bars  []bar
}

// chart is one picture: horizontal bars by load, all on one axis that begins at 0.
type chart struct {
	file, title string
	unit        string
	note        string // what the bars and whiskers are
	groups      []group
}

// charts are the pictures of what was measured. One that would have no bars is not
// among them.
func (r *results) charts() []chart {
	var all []chart
	for _, c := range []struct {
		file, title, unit string
		f                 metric
	}{
		{"cpu.svg", "Processor time for a delivery", "Microseconds of the server’s processor time (CPU-seconds per million deliveries)", cpu},
		{"latency.svg", "Latency, 99th percentile", "Milliseconds from when a message was due to when it was read", p99},
		{"memory.svg", "Memory for a connection", "KB of the server’s resident memory", memory},
	} {
		made := chart{file: c.file, title: c.title, unit: c.unit, note: "Shorter is better."}
		if r.rounds > 1 {
			made.note += fmt.Sprintf(" Bars are the medians of %d rounds, whiskers the least and the most.", r.rounds)
		}
		for i := range r.scenarios {
			s := &r.scenarios[i]
			g := group{title: s.name + ": " + s.what}
			r.eachPeer(s, func(p *peer, _ []*outcome) {
				if v := r.spread(s.name, p.name, c.f); v.count > 0 {
					g.bars = append(g.bars, bar{peer: p.name, label: strings.ReplaceAll(p.title, "`", ""), spread: v})
				}
			})
			if len(g.bars) > 0 {
				made.groups = append(made.groups, g)
			}
		}
		if len(made.groups) > 0 {
			all = append(all, made)
		}
	}
	return all
}

// The layout, in pixels.
const (
	chartWidth = 820
	plotLeft   = 230
	plotRight  = 665 // the rest is for the figures
	plotTop    = 80
	groupTitle = 26
	barPitch   = 22
	barHeight  = 14
	groupGap   = 10
	axisHeight = 24
)

// chartStyle has a background of its own, because a page's may be dark where the
// reader's system is light.
const chartStyle = `
    text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
    .title { font-size: 18px; font-weight: 600 }
    .load { font-weight: 600 }
    .note, .tick { font-size: 12px; fill: #59636e }
    .value { stroke: #ffffff; stroke-width: 4; stroke-linejoin: round; paint-order: stroke }
    .paper { fill: #ffffff; stroke: #d1d9e0 }
    .grid { stroke: #d1d9e0; stroke-width: 1 }
    .whisker { stroke: #1f2328; stroke-width: 1.5; fill: none }
    .bar { fill: #8c959f }
    .parlor { fill: #3b8eea }
    .nats { fill: #e08a3c }
    .ws { fill: #3fa66b }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .note, .tick { fill: #9198a1 }
      .value { stroke: #0d1117 }
      .paper { fill: #0d1117; stroke: #3d444d }
      .grid { stroke: #30363d }
      .whisker { stroke: #f0f6fc }
      .bar { fill: #6e7681 }
      .parlor { fill: #2f81f7 }
      .nats { fill: #c9752b }
      .ws { fill: #2e8f57 }
    }
  `

// svg draws the chart.
func (c *chart) svg() string {
	end, step, cut := c.axis()
	height := plotTop + axisHeight
	for _, g := range c.groups {
		height += groupTitle + barPitch*len(g.bars) + groupGap
	}
	bottom := height - axisHeight
	note := c.note
	if cut {
		note += " A gap: cut short."
	}

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-labelledby="title desc">`+"\n", chartWidth, height)
	fmt.Fprintf(&b, "  <title id=\"title\">%s</title>\n  <desc id=\"desc\">%s</desc>\n", html.EscapeString(c.title), html.EscapeString(c.inWords()))
	fmt.Fprintf(&b, "  <style>%s</style>\n", chartStyle)
	fmt.Fprintf(&b, `  <rect class="paper" x="0.5" y="0.5" width="%d" height="%d" rx="6"/>`+"\n", chartWidth-1, height-1)
	write(&b, "title", "start", 20, 30, c.title)
	write(&b, "note", "start", 20, 50, c.unit)
	write(&b, "note", "start", 20, 67, note)
	x := func(v float64) float64 { return plotLeft + (plotRight-plotLeft)*min(max(v, 0), end)/end }
	ticks := int(math.Round(end / step))
	for i := range ticks + 1 {
		v := float64(i) * step
		write(&b, "tick", "middle", x(v), float64(bottom+8), tick(v, step))
	}
	y := float64(plotTop)
	for _, g := range c.groups {
		write(&b, "load", "start", 20, y+18, g.title)
		y += groupTitle
		for i := range ticks + 1 { // not through the title
			fmt.Fprintf(&b, `  <path class="grid" d="M%.1f %.1fv%d"/>`+"\n", x(float64(i)*step), y, barPitch*len(g.bars))
		}
		for _, one := range g.bars {
			one.draw(&b, x, y+(barPitch-barHeight)/2, end)
			y += barPitch
		}
		y += groupGap
	}
	fmt.Fprintln(&b, "</svg>")
	return b.String()
}

func write(b *strings.Builder, class, anchor string, x, y float64, text string) {
	if class != "" {
		class = fmt.Sprintf(` class="%s"`, class)
	}
	if anchor != "start" {
		class += fmt.Sprintf(` text-anchor="%s"`, anchor)
	}
	fmt.Fprintf(b, "  <text%s x=\"%.1f\" y=\"%.1f\">%s</text>\n", class, x, y, html.EscapeString(text))
}

// draw draws the bar with its name, its whisker and its figure.
func (one *bar) draw(b *strings.Builder, x func(float64) float64, y, end float64) {
	const bottom, middle, cap = barHeight, barHeight / 2, 4
	write(b, "", "end", plotLeft-8, y+bottom-2.5, one.label)
	from, to := x(0), x(one.median)
	if one.median <= end {
		fmt.Fprintf(b, `  <path class="bar %s" d="M%.1f %.1fH%.1fv%dH%.1fz"/>`+"\n", one.peer, from, y, to, bottom, from)
	} else {
		gap := to - 40
		fmt.Fprintf(b, `  <path class="bar %s" d="M%.1f %.1fH%.1fl-6 %dH%.1fzM%.1f %.1fH%.1fv%dH%.1fz"/>`+"\n", one.peer,
			from, y, gap, bottom, from, gap+6, y, to, bottom, gap)
	}
	label, at := figure(one.median), to
	if one.count > 1 {
		if least, most := x(one.least), x(one.most); one.median <= end && most-least >= 1 {
			fmt.Fprintf(b, `  <path class="whisker" d="M%.1f %.1fv%dM%.1f %.1fH%.1f`, least, y+middle-cap, 2*cap, least, y+middle, most)
			if one.most <= end {
				fmt.Fprintf(b, `M%.1f %.1fv%d`, most, y+middle-cap, 2*cap)
			} else {
				fmt.Fprintf(b, `m-5 -4l5 4l-5 4`) // it goes on
			}
			fmt.Fprintln(b, `"/>`)
			at = max(at, most)
		}
		if one.most > end {
			label += " (" + one.span() + ")"
		}
	}
	write(b, "value", "start", at+7, y+bottom-2.5, label)
}

// axis is where the axis ends and how far its ticks are apart. It ends beyond the
// longest bar and whisker, unless that is more than ten times the median of the bars:
// then it is cut, for the others to be told apart.
func (c *chart) axis() (end, step float64, cut bool) {
	var medians []float64
	for _, g := range c.groups {
		for _, one := range g.bars {
			medians = append(medians, one.median)
		}
	}
	limit := 10 * max(spreadOf(medians).median, 0)
	longest := 0.0
	for _, g := range c.groups {
		for _, one := range g.bars {
			for _, v := range []float64{one.median, one.most} {
				if v <= limit || limit == 0 {
					longest = max(longest, v)
				} else {
					cut = true
				}
			}
		}
	}
	if longest == 0 {
		return 1, 1, cut
	}
	// 4 to 10 ticks.
	decade := math.Pow(10, math.Floor(math.Log10(longest)))
	switch {
	case longest/decade > 5:
		step = decade
	case longest/decade > 2:
		step = decade / 2
	default:
		step = decade / 5
	}
	return step * math.Ceil(longest/step), step, cut
}

// tick is the text at a tick.
func tick(v, step float64) string {
	if step >= 1 {
		return grouped(v)
	}
	return fmt.Sprintf("%.*f", int(math.Ceil(-math.Log10(step))), v)
}

// inWords is the chart for who cannot see it.
func (c *chart) inWords() string {
	said := []string{c.unit + ".", c.note}
	for _, g := range c.groups {
		var bars []string
		for _, one := range g.bars {
			bars = append(bars, one.label+" "+one.cell())
		}
		said = append(said, g.title+": "+strings.Join(bars, "; ")+".")
	}
	return strings.Join(said, " ")
}
