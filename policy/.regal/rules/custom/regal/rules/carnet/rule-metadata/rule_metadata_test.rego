package custom.regal.rules.carnet["rule-metadata_test"]

import data.custom.regal.rules.carnet["rule-metadata"] as rule

stated := `package carnet.example

# METADATA
# title: An example
# custom:
#   id: EX-ONE
#   stage: job
#   effect: deny
#   citations: [C-EX]
#   effective_from: "2026-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: privacy
#   review_by: "2027-01-01"
#   status: in_force
blocked["EX-ONE"] := {"FR"}

explained["EX-ONE"] := {"message": "example.one", "parameters": {}, "fix": []}
`

found(policy) := count(report) if report := rule.report with input as regal.parse_module("example.rego", policy)

test_a_rule_with_its_metadata_and_words_passes if found(stated) == 0

test_a_rule_without_metadata_is_found if found(concat("", [stated, "\nwarned[\"EX-TWO\"] := {\"FR\"}\n\nexplained[\"EX-TWO\"] := {}\n"])) == 1

test_metadata_of_another_rule_is_found if found(replace(stated, "#   id: EX-ONE", "#   id: EX-TWO")) == 1

test_metadata_that_lacks_something_is_found if found(replace(stated, "#   owner: privacy\n", "")) == 1

test_metadata_that_adds_something_is_found if found(replace(stated, "#   owner: privacy\n", "#   owner: privacy\n#   mood: good\n")) == 1

test_a_rule_without_a_title_is_found if found(replace(stated, "# title: An example\n", "")) == 1

test_a_rule_without_words_is_found if found(replace(stated, "explained", "unexplained")) == 1

test_a_rule_under_no_constant_id_is_found if found(concat("", [stated, "\nblocked[id] := {\"FR\"} if some id in input.ids\n"])) == 1

test_a_rule_under_no_id_is_found if found(concat("", [stated, "\nobliged contains id if some id in input.ids\n"])) == 1

test_what_joins_the_regimes_has_no_ids_of_its_own if found("package carnet.main\n\nblocked := {}\n") == 0
