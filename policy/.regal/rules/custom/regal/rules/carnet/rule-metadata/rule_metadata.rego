# METADATA
# description: What stands under a rule's id has METADATA with that id, and explains itself
# schemas:
#   - input: schema.regal.ast
package custom.regal.rules.carnet["rule-metadata"]

import data.regal.result

# The names under which a regime exports its rules, each rule under its id.
exports := {"blocked", "obliged", "passed", "warned"}

# What METADATA of a rule says; policy/catalogue.py holds the values.
needed := {
	"citations", "effect", "effective_from", "effective_to", "exemptible", "id", "owner", "review_by", "severity",
	"stage", "status",
}

identified[id] contains rule if {
	some rule in input.rules
	rule.head.ref[0].value in exports
	count(rule.head.ref) == 2
	rule.head.ref[1].type == "string"
	id := rule.head.ref[1].value
}

stated contains id if {
	some id, bodies in identified
	some rule in bodies
	some annotation in rule.annotations
	annotation.custom.id == id
	is_string(annotation.title)
	object.keys(annotation.custom) == needed
}

explained contains rule.head.ref[1].value if {
	some rule in input.rules
	rule.head.ref[0].value == "explained"
}

# Its METADATA is another rule's, or lacks something, or is not there.
report contains violation if {
	some id, bodies in identified
	not id in stated
	some rule in bodies
	violation := result.fail(rego.metadata.chain(), result.location(rule.head))
}

# A decision that it makes could not be told in words: the body would be undefined, and that is a refusal.
report contains violation if {
	some id, bodies in identified
	not id in explained
	some rule in bodies
	violation := result.fail(rego.metadata.chain(), result.location(rule.head))
}

# Under an id that is no constant, or under none, a rule escapes its METADATA.
report contains violation if {
	some rule in input.rules
	rule.head.ref[0].value in exports
	input.package.path[1].value == "carnet"
	not joined
	not constant(rule.head.ref)
	violation := result.fail(rego.metadata.chain(), result.location(rule.head))
}

# Where the rules of all regimes come together, under the same names.
joined if input.package.path[2].value in {"main", "overlays", "runners"}

constant(ref) if {
	count(ref) == 2
	ref[1].type == "string"
}
