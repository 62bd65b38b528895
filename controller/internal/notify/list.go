package notify

import (
	"slices"

	"devflowbackup/controller"
)

// Channels are the kinds as the rest of the controller knows them.
func Channels() []controller.ChannelKind {
	list := make([]controller.ChannelKind, len(kinds))
	for i, k := range kinds {
		list[i] = controller.ChannelKind{Kind: k.Kind, Title: k.Title, Fields: slices.Clone(k.Fields), Optional: slices.Clone(k.Optional), Example: k.Example, Text: k.Text}
	}
	return list
}
