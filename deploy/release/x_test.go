package release
import (
 _ "github.com/goreleaser/goreleaser/v2/pkg/config"
 _ "github.com/CycloneDX/cyclonedx-go"
)
