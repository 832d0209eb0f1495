package parlortest_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"

	"parlor/internal/config"
)

// A logging configuration is made, used, changed and deleted; while its destination is
// dead its backlog grows and says so, and afterwards it is gone.
func TestBrowserLogging(t *testing.T) {
	s := startSeen(t, func(c *config.Config) { c.ChatlogInterval = 200 * time.Millisecond })
	client := s.Client(t)
	// A file where its directory would be.
	dead := filepath.Join(s.Data, "logs", "cloudwatchlogs")
	if err := os.MkdirAll(filepath.Dir(dead), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dead, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	p := openBrowser(t).page(t, s.URL+"/console/#/logging", view{})
	p.waitText(".empty", "No logging configurations yet")
	accessibleFromTop(p)
	p.screenshot("empty")
	p.click("button >> Create a logging configuration")
	p.eval(`((s) => { s.value = 'cloudWatchLogs'; s.dispatchEvent(new Event('change')) })(document.querySelector('dialog select'))`, nil)
	p.waitText("dialog label", "Name of the log group")
	p.fill("dialog input[required]", "chat/log")
	p.fill("dialog input[maxlength='128']", "archive")
	accessibleFromTop(p)
	p.screenshot("create")
	p.press("Enter")
	p.waitText(".configuration h2", "archive")
	p.waitText(".configuration", "chat/log")
	p.waitText(".configuration", "Active")
	p.waitText(".configuration dd", "nothing")

	arn := ""
	p.eval(`document.querySelector('.configuration').dataset.arn`, &arn)
	out := must[*ivschat.CreateRoomOutput](t)(client.CreateRoom(context.Background(), &ivschat.CreateRoomInput{
		Name: aws.String("lobby"), LoggingConfigurationIdentifiers: []string{arn},
	}))
	ada := enter(t, s, client, *out.Arn, "ada")
	ada.sayUntilHeard("one")
	p.waitText(".configuration dd", "1 record, ")
	ada.sayUntilHeard("two")
	p.waitText(".configuration dd", "2 records, ")
	p.waitText(".configuration dd", "the oldest for")
	p.waitText(".mark.bad", "the last tries failed")
	p.click("summary >> Rooms that use it")
	p.waitText(".configuration li a", "lobby")
	p.click("summary >> In development")
	accessibleFromTop(p)
	p.unclipped()
	p.screenshot("backlog")
	phone := openBrowser(t).page(t, s.URL+"/console/#/logging", view{phone: true, theme: "dark"})
	phone.waitText(".configuration dd", "2 records, ")
	phone.unclipped()
	accessibleFromTop(phone)
	phone.screenshot("phone")
	phone.done()

	// Its destination comes back.
	if err := os.Remove(dead); err != nil {
		t.Fatal(err)
	}
	p.waitText(".configuration dd", "nothing")
	p.waitGone(".mark")

	p.click("nav a >> Node")
	p.waitText("h1", "This node")
	p.waitGone("[data-chart=records]")
	p.wait(`document.querySelectorAll('[data-chart=memory] .line').length > 0`)
	ada.sayUntilHeard("three")
	p.waitText("[data-chart=records] .legend", "shipped")
	p.click("nav a >> Logging")

	p.click(".configuration button >> Edit")
	p.fill("dialog input[maxlength='128']", "records")
	p.press("Enter")
	p.waitText(".configuration h2", "records")

	// A configuration that is in use is not deleted, or is, as the API has it.
	must[*ivschat.UpdateRoomOutput](t)(client.UpdateRoom(context.Background(), &ivschat.UpdateRoomInput{Identifier: out.Arn, LoggingConfigurationIdentifiers: []string{}}))
	p.click(".configuration button >> Delete")
	p.waitText("dialog", "records is deleted for good")
	p.click("dialog button.danger")
	p.waitText(".empty", "No logging configurations yet")
	if all := must[*ivschat.ListLoggingConfigurationsOutput](t)(client.ListLoggingConfigurations(context.Background(), &ivschat.ListLoggingConfigurationsInput{})); len(all.LoggingConfigurations) != 0 {
		t.Errorf("got %d logging configurations", len(all.LoggingConfigurations))
	}
	p.click("nav a >> Calls")
	p.waitText("tbody", "DeleteLoggingConfiguration")
}
