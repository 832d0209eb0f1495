package parlortest_test

import (
	"fmt"
	"slices"
	"testing"

	"parlor/internal/parlortest"
)

// sockets has a page keep its sockets, so that a test can have them receive what it
// likes, or break them.
const sockets = `{
	const Real = WebSocket;
	window.sockets = [];
	window.WebSocket = class extends Real { constructor(...all) { super(...all); sockets.push(this); } };
	let n = 0;
	window.receive = (count, more = {}) => {
		for (let i = 0; i < count; i++, n++) {
			sockets[0].onmessage({ data: JSON.stringify({ Type: 'MESSAGE', Id: 'message' + n, RequestId: '', Attributes: null, SendTime: new Date().toISOString(),
				Content: 'number ' + n + ' ' + 'and some more words '.repeat(n % 12), Sender: { UserId: 'user-' + n % 40, Attributes: {} }, ...more }) });
		}
	};
}`

// The list stays smooth with ten thousand messages in it and a hundred more a second:
// few rows are in the document, and those in sight are the right ones.
func TestConsoleRoomTenThousand(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{}, namedRoom("stadium"), sockets)
	var took float64
	r.eval(`(async () => { const begun = performance.now(); receive(10000); await new Promise(requestAnimationFrame); return performance.now() - begun; })()`, &took)
	t.Logf("10,000 messages took %.0f ms", took)
	rows := func() (count int) {
		r.eval(`document.querySelectorAll('article').length`, &count)
		if count == 0 || count >= 200 {
			t.Errorf("%d rows are in the document", count)
		}
		return count
	}
	r.waitText(".row", "number 9999")
	rows()
	r.screenshot("end")
	r.accessible()

	// By way of the whole list, at each place without a gap.
	inSight := `(() => {
		const view = document.querySelector('.long-view');
		const box = view.getBoundingClientRect();
		const rows = [...view.querySelectorAll('article')].map((e) => [e.getBoundingClientRect(), e]).filter(([b]) => b.bottom > box.top && b.top < box.bottom);
		const numbers = rows.map(([, e]) => Number(e.innerText.match(/number (\d+)/)[1]));
		return {
			numbers,
			gapless: numbers.every((n, i) => i === 0 || n === numbers[i - 1] + 1),
			covered: rows[0][0].top <= box.top + 1 && rows.at(-1)[0].bottom >= box.bottom - 1,
		};
	})()`
	type sight struct {
		Numbers          []int
		Gapless, Covered bool
	}
	look := func(where string) sight {
		var seen sight
		r.until("the list is whole "+where, inSight, &seen, func() bool { return seen.Gapless && seen.Covered })
		return seen
	}
	for _, part := range []float64{0, 0.1, 0.5, 0.9} {
		r.eval(fmt.Sprintf(`{ const v = document.querySelector('.long-view'); v.scrollTop = v.scrollHeight * %g; }`, part), nil)
		r.wait(`new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve(true))))`)
		seen := look(fmt.Sprint("at ", part))
		if from, to := int(10000*part)-700, int(10000*part)+700; seen.Numbers[0] < from || seen.Numbers[0] > to {
			t.Errorf("at %g of the list are messages %v", part, seen.Numbers)
		}
		rows()
	}

	// Away from the end nothing moves as more come, old ones are dropped, and it is said.
	before := look("before")
	r.eval(`receive(500)`, nil)
	r.waitText(".latest", "500 new messages")
	r.waitText(".foot", "500 older rows were dropped")
	after := look("after")
	if !slices.Equal(before.Numbers, after.Numbers) {
		t.Errorf("what was in sight moved from %v to %v", before.Numbers, after.Numbers)
	}
	r.screenshot("away")
	r.click(".latest")
	r.waitText(".row", "number 10499")
	r.waitGone(".latest")

	// A hundred a second, for four seconds: the frames of the screen go on.
	var pace struct{ Median, Worst float64 }
	r.eval(`(async () => {
		const waits = [];
		let last = performance.now();
		const timer = setInterval(() => receive(5), 50);
		while (waits.length < 1000 && waits.reduce((a, b) => a + b, 0) < 4000) {
			await new Promise(requestAnimationFrame);
			waits.push(performance.now() - last);
			last = performance.now();
		}
		clearInterval(timer);
		waits.sort((a, b) => a - b);
		return { median: waits[waits.length >> 1], worst: waits.at(-1) };
	})()`, &pace)
	t.Logf("at 100 messages/s a frame took %.1f ms, the longest %.0f ms", pace.Median, pace.Worst)
	if pace.Median > 100 { // 17 ms on a machine that does nothing else
		t.Errorf("at 100 messages/s half of the frames took %.1f ms and more", pace.Median)
	}
	look("at the end")
	rows()

	// Paused, filtered.
	r.click("button >> Pause")
	r.eval(`receive(30)`, nil)
	r.waitText("button", "Resume (30 new)")
	before = look("paused")
	r.click("button >> Resume")
	r.until("it goes on", inSight, &after, func() bool {
		return len(after.Numbers) > 0 && after.Numbers[len(after.Numbers)-1] >= before.Numbers[len(before.Numbers)-1]+30
	})
	r.fill("input[type=search]", "user-7")
	r.wait(`[...document.querySelectorAll('article .user')].every((e) => e.innerText === 'user-7')`)
	r.fill("input[type=search]", "")

	// The wire has a bound of its own.
	r.tab("Wire")
	r.waitText(".foot", "at most 5,000 are kept")
	rows()
	r.screenshot("wire")
}

// What it looks like, and works, on a phone and in the dark.
func TestConsoleRoomPhone(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{phone: true, theme: "dark"}, namedRoom("pocket"), sockets)
	r.eval(`receive(40)`, nil)
	r.waitText(".row", "number 39")
	r.unclipped()
	r.screenshot("live")
	r.accessible()
	r.send("ann", "from a phone")
	r.screenshot("sent")
	for _, tab := range []string{"Wire", "People", "Settings"} {
		r.tab(tab)
		if tab == "People" {
			r.waitText("tbody", "console")
		}
		r.unclipped()
		r.eval(`scrollTo(0, 0)`, nil) // nothing is under the bar
		r.accessible()
		r.screenshot(tab)
	}
}

// Every colour that a user may have can be read on every ground it stands on.
func TestConsoleRoomColours(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{}, namedRoom("paint"), "")
	for _, theme := range []string{"light", "dark"} {
		r.prefer(theme, true)
		var low []string
		var least float64
		r.eval(`(() => {
			const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
			const luminance = (colour) => {
				canvas.fillStyle = colour;
				canvas.fillRect(0, 0, 1, 1);
				return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
					.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
			};
			const name = document.createElement('bdi');
			name.className = 'user';
			const ground = document.createElement('div');
			document.body.append(name, ground);
			window.results = [];
			for (let hue = 0; hue < 360; hue += 15) {
				name.style.setProperty('--hue', hue);
				for (const on of ['--card', '--sunk']) {
					ground.style.backgroundColor = 'var(' + on + ')';
					const [a, b] = [luminance(getComputedStyle(name).color), luminance(getComputedStyle(ground).backgroundColor)].sort((x, y) => y - x);
					results.push([(a + 0.05) / (b + 0.05), hue + ' on ' + on]);
				}
			}
			return results.filter(([c]) => c < 4.5).map(([c, what]) => what + ': ' + c.toFixed(2));
		})()`, &low)
		r.eval(`Math.min(...results.map(([c]) => c))`, &least)
		t.Logf("%s: the least contrast is %.2f", theme, least)
		if len(low) > 0 || least < 1 {
			t.Errorf("in the %s theme: %q", theme, low)
		}
	}
}
