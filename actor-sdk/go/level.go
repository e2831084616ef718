package lattice

import (
	"log/slog"
	"os"
)

// levelTrace lies below what Go has.
const levelTrace = slog.LevelDebug - 4

// leastLevel is what the manifest's LATTICE_LOG says.
func leastLevel() slog.Level {
	switch os.Getenv("LATTICE_LOG") {
	case "trace":
		return levelTrace
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	case "off":
		return slog.LevelError + 1
	}
	return slog.LevelInfo
}
