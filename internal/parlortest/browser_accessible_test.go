package parlortest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/dom"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
)

// axeRun runs axe-core with the rules of WCAG 2.2, levels A and AA, and with what is good
// practice beside them. The size of targets is a rule of 2.2 that axe leaves off unless
// asked.
const axeRun = `axe.run(document, {
	runOnly: { type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] },
	rules: { 'target-size': { enabled: true } },
	resultTypes: ['violations', 'incomplete', 'passes'],
}).then((r) => {
	const brief = (rules) => rules.map((rule) => ({
		id: rule.id, help: rule.help,
		nodes: rule.nodes.map((n) => n.target.join(' ') + ': ' + [...n.any, ...n.all, ...n.none].map((c) => c.message).join('; ')),
	}));
	return { violations: brief(r.violations), incomplete: brief(r.incomplete.filter((i) => i.id === 'color-contrast')), passes: r.passes.map((i) => i.id) };
})`

type axeRule struct {
	ID, Help string
	Nodes    []string
}

// accessible fails the test for each rule of accessibility that the page, as it is now,
// breaks in the light or in the dark theme, and for text whose contrast cannot be
// computed. A page with a theme of its own choice is looked at as it is, twice.
func (p *page) accessible() {
	p.t.Helper()
	source, err := os.ReadFile("../../.cache/node/node_modules/axe-core/axe.min.js")
	if err != nil {
		missing(p.t, "axe-core (make deps installs it)")
	}
	now := [2]bool{}
	p.eval(`[matchMedia('(prefers-color-scheme: dark)').matches, matchMedia('(prefers-reduced-motion: reduce)').matches]`, &now)
	// A world of its own, in which the page's policy does not apply, and of which the
	// page does not know.
	frame := call(p, cdppage.GetFrameTree, cdp.Empty{}).FrameTree.Frame.ID
	world := call(p, cdppage.CreateIsolatedWorld, cdppage.CreateIsolatedWorldParams{FrameID: frame, WorldName: "axe"}).ExecutionContextID
	if err := p.evaluate(string(source), world, nil); err != nil {
		p.fail("axe: %v", err)
	}
	for _, theme := range []string{"light", "dark"} {
		p.prefer(theme, true)
		// What fades from one theme to the other has arrived.
		p.wait(`new Promise(requestAnimationFrame).then(() => document.getAnimations().every((a) => a.playState !== 'running' || a.effect.getComputedTiming().endTime === Infinity))`)
		var result struct {
			Violations, Incomplete []axeRule
			Passes                 []string
		}
		if err := p.evaluate(axeRun, world, &result); err != nil {
			p.fail("axe: %v", err)
		}
		for _, rule := range append(result.Violations, result.Incomplete...) {
			p.t.Errorf("in the %s theme: %s: %s\n\t%s", theme, rule.ID, rule.Help, strings.Join(rule.Nodes, "\n\t"))
		}
		passes := strings.Join(result.Passes, " ")
		if len(result.Passes) < 10 || !strings.Contains(passes, "color-contrast") {
			p.t.Errorf("axe looked at next to nothing: %s", passes)
		}
	}
	theme := "light"
	if now[0] {
		theme = "dark"
	}
	p.prefer(theme, now[1])
}

// focusOrder presses Tab from the top of the page until it comes round, and returns the
// role and the name of each stop as a screen reader would say them: "button Send".
func (p *page) focusOrder() (stops []string) {
	p.t.Helper()
	p.eval(`document.body.tabIndex = -1; document.body.focus({ preventScroll: true }); document.body.removeAttribute('tabindex')`, nil)
	const most = 500
	seen := map[cdp.BackendNodeID]bool{}
	for range most {
		p.press("Tab")
		object := call(p, runtime.Evaluate, runtime.EvaluateParams{Expression: "document.activeElement"}).Result
		node := call(p, dom.DescribeNode, dom.DescribeNodeParams{ObjectID: object.ObjectID}).Node
		if node.NodeName == "BODY" || seen[node.BackendNodeID] {
			return stops
		}
		seen[node.BackendNodeID] = true
		no := false
		tree := call(p, accessibility.GetPartialAXTree, accessibility.GetPartialAXTreeParams{BackendNodeID: node.BackendNodeID, FetchRelatives: &no})
		stop := fmt.Sprintf("%s, which screen readers ignore", strings.ToLower(node.NodeName))
		if len(tree.Nodes) > 0 && !tree.Nodes[0].Ignored {
			stop = spoken(tree.Nodes[0].Role) + " " + spoken(tree.Nodes[0].Name)
		}
		stops = append(stops, strings.TrimSpace(stop))
	}
	p.fail("Tab does not come round in %d stops", most)
	return nil
}

func spoken(v *accessibility.Value) (text string) {
	if v != nil {
		json.Unmarshal([]byte(v.Value), &text) // both are strings
	}
	return text
}

// unclipped fails the test if the page is wider than what is in sight, so that one would
// have to scroll sideways.
func (p *page) unclipped() {
	p.t.Helper()
	var widths [2]int
	p.eval(`[document.documentElement.scrollWidth, document.documentElement.clientWidth]`, &widths)
	if widths[0] > widths[1] {
		p.t.Errorf("the page is %d wide in a window of %d", widths[0], widths[1])
	}
}
