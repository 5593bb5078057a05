// Package github holds the delivery pipeline that edgefleet ships for GitHub
// Actions: one workflow file to copy, whose steps are the scripts beside it, so
// that they can be run and tested without GitHub.
package github

import "embed"

// Files holds WorkflowFile.
//
//go:embed .github/workflows/edge-config-deploy.yml
var Files embed.FS

// WorkflowFile is the workflow's path in Files, and in the repository that it
// is copied to.
const WorkflowFile = ".github/workflows/edge-config-deploy.yml"
