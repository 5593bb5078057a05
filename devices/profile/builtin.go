package profile

import (
	"embed"
	"fmt"
	"path"
)

//go:embed builtin/*.yaml
var builtinFiles embed.FS

// Builtin returns the profiles that edgefleet brings, by name. It reads them
// anew each time, so the caller owns what it gets.
func Builtin() (map[string]*Profile, error) {
	entries, err := builtinFiles.ReadDir("builtin")
	if err != nil {
		return nil, fmt.Errorf("read the built-in profiles: %w", err)
	}
	out := make(map[string]*Profile, len(entries))
	for _, e := range entries {
		file := path.Join("builtin", e.Name())
		data, err := builtinFiles.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the built-in profiles: %w", err)
		}
		p, problems := Parse(file, data)
		if err := problems.Err(); err != nil {
			return nil, fmt.Errorf("built-in profile: %w", err)
		}
		out[p.Name] = p
	}
	return out, nil
}
