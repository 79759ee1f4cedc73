module keda

go 1.26.0

// Names the version, of which go.sum has the checksum. KEDA's own go.mod and go.sum pin the rest.
require github.com/kedacore/keda/v2 v2.21.0
