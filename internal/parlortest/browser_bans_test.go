package parlortest_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"

	"parlor/internal/parlortest"
)

// Users are banned and muted where they are met; the bans are listed, made for others,
// and taken back.
func TestConsoleBans(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{}, namedRoom("strict"), "")
	r.send("ann", "hello from ann")
	r.send("bob", "hello from bob")
	r.act("hello from ann", "Mute \u2068ann")
	r.waitText("dialog", "Mute the user?")
	r.eval(`navigator.clipboard.writeText = (text) => { globalThis.copied = text; return Promise.resolve(); }`, nil)
	r.click("dialog button >> Copy as parlor")
	var copied string
	r.until("the command is copied", `globalThis.copied ?? ''`, &copied, func() bool { return copied != "" })
	if want := "AWS_REGION=us-east-1 parlor mute --room=" + r.arn + " --for=600s --endpoint=" + r.s.URL + " -- ann"; copied != want {
		t.Errorf("the command:\ngot  %s\nwant %s", copied, want)
	}
	r.accessible()
	r.click("dialog [type=submit]")
	r.waitText(".toast", "The user is muted.")
	r.fill(".composer input[required]", "ann")
	r.fill(".composer textarea", "hello again")
	r.press("Enter")
	r.waitText(".composer .problem", "You are muted until")

	// What the history has of a user goes, for all who see it.
	if _, err := r.client.TagResource(t.Context(), &ivschat.TagResourceInput{ResourceArn: &r.arn, Tags: map[string]string{"parlor:history": "50"}}); err != nil {
		t.Fatal(err)
	}
	r.send("bob", "to be kept by the history")
	r.act("to be kept by the history", "Delete all of \u2068bob")
	r.waitText("dialog", "Delete all that the user said?")
	r.click("dialog [type=submit]")
	r.waitText(".toast", "1 message deleted.")
	r.waitText(".row.deleted .fate", "Deleted")

	r.tab("People")
	r.waitText("tbody tr", "bob")
	r.accessible()
	r.click("tr button >> Ban \u2068bob")
	r.fill("dialog input:not([readonly])", "too loud")
	r.click("dialog [type=submit]")
	r.wait(`![...document.querySelectorAll('table.people tbody tr')].some((tr) => tr.innerText.includes('bob'))`)
	if _, err := r.client.CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{RoomIdentifier: &r.arn, UserId: aws.String("bob")}); err == nil || !strings.Contains(err.Error(), "is banned from") {
		t.Errorf("a token: got %v", err)
	}

	r.click("nav a >> Bans")
	r.waitText("h1", "Bans and mutes")
	r.waitText("table.bans tbody tr >> bob", "Banned")
	r.waitText("table.bans tbody tr >> bob", "too loud")
	r.waitText("table.bans tbody tr >> ann", "Muted")
	r.click("button >> Ban a user")
	r.fill("dialog input[required]", "mallory")
	r.click("dialog [type=submit]")
	r.waitText("table.bans tbody tr >> mallory", "Every room")
	r.screenshot("bans")
	r.accessible()
	r.click("tr button >> Take back: ban of \u2068bob")
	r.wait(`document.querySelectorAll('table.bans tbody tr').length === 2`)
	if _, err := r.client.CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{RoomIdentifier: &r.arn, UserId: aws.String("bob")}); err != nil {
		t.Errorf("taken back: got %v", err)
	}
	r.click("tr button >> Take back")
	r.wait(`document.querySelectorAll('table.bans tbody tr').length === 1`)
	r.click("tr button >> Take back")
	r.waitText(".empty", "Nobody is banned or muted.")
	r.accessible()
}
