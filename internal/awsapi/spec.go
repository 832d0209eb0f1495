package awsapi

import "parlor/internal/chat"

// RoomSpec reads the input of CreateRoom as a request has it, and holds it to the same
// rules. Its error is what the request would be answered with: a *[chat.Error] that
// names every member at fault, or one that says that the JSON cannot be read.
func RoomSpec(input []byte) (chat.RoomSpec, error) {
	var in createRoomInput
	if err := decodeJSON(input, &in); err != nil {
		return chat.RoomSpec{}, err
	}
	return in.spec(func(tags map[string]string) error {
		_, err := chat.ParseExtensions(tags) // which rules the server has for messages is not known here
		return err
	})
}

// LoggingConfigurationSpec is RoomSpec for the input of CreateLoggingConfiguration.
func LoggingConfigurationSpec(input []byte) (chat.LoggingConfigurationSpec, error) {
	var in createLoggingConfigurationInput
	if err := decodeJSON(input, &in); err != nil {
		return chat.LoggingConfigurationSpec{}, err
	}
	return in.spec()
}

// spec checks every member, and what the tags switch on.
func (in *createRoomInput) spec(checkTags func(map[string]string) error) (chat.RoomSpec, error) {
	var f faults
	spec := chat.RoomSpec{Tags: in.Tags}
	if name := f.name("name", in.Name); name != nil {
		spec.Name = *name
	}
	if rate := f.integer("maximumMessageRatePerSecond", in.MaximumMessageRatePerSecond, 1, 100); rate != nil {
		spec.MaximumMessageRatePerSecond = *rate
	}
	if length := f.integer("maximumMessageLength", in.MaximumMessageLength, 1, 500); length != nil {
		spec.MaximumMessageLength = *length
	}
	spec.Handler = f.handler(in.MessageReviewHandler)
	f.tags("tags", in.Tags)
	f.extensions("tags", in.Tags, checkTags)
	if lcs := f.loggingConfigurations("loggingConfigurationIdentifiers", in.LoggingConfigurationIdentifiers); lcs != nil {
		spec.LoggingConfigurations = *lcs
	}
	return spec, f.err()
}

// spec checks every member.
func (in *createLoggingConfigurationInput) spec() (chat.LoggingConfigurationSpec, error) {
	var f faults
	spec := chat.LoggingConfigurationSpec{Tags: in.Tags}
	if name := f.name("name", in.Name); name != nil {
		spec.Name = *name
	}
	if in.DestinationConfiguration == nil {
		f.add("destinationConfiguration", required)
	} else {
		spec.Destination = f.destination(in.DestinationConfiguration)
	}
	f.tags("tags", in.Tags)
	return spec, f.err()
}
