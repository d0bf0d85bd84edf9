# METADATA
# title: What the gateway may ask of OPA
# description: The two questions, and health. Nothing is read, nothing is ever uploaded.
# scope: package
package system.authz

questions := {
	["v1", "data", "carnet", "main", "body"],
	["v1", "data", "carnet", "runners", "answer"],
}

default allow := false

allow if {
	input.method == "POST"
	input.path in questions
}

allow if {
	input.method == "GET"
	input.path == ["health"]
}
