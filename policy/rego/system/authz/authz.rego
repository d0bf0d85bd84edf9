# METADATA
# title: What the gateway may ask of OPA
# description: The two questions, what the decision log does not show, and health. Nothing is read, nothing is ever uploaded.
# scope: package
package system.authz

default allow := false

questions := {
	["v1", "data", "carnet", "main", "body"],
	["v1", "data", "carnet", "runners", "answer"],
	["v1", "data", "system", "log", "mask"],
}

allow if {
	input.method == "POST"
	input.path in questions
}

allow if {
	input.method == "GET"
	input.path == ["health"]
}
