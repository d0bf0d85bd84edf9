# METADATA
# title: What the decision log does not show
# description: |
#   OPA's own document for masking, asked of every engine. Names of organisations, licence numbers and counts are
#   covered; what decided (places, classes, rules, citations) stays. It reads path, input and result of the decision,
#   and no time: equal decisions are masked alike.
# scope: package
package system.log

covered := "masked"

job := input.input.job

mask contains "/input/gateway/volumes"

mask contains "/input/job/data/records"

mask contains {"op": "upsert", "path": "/input/job/end_user/entity", "value": covered} if {
	job.end_user.entity
}

mask contains {"op": "upsert", "path": "/input/job/transfer/importers", "value": importers} if {
	importers := [object.union(importer, {"entity": covered}) | some importer in job.transfer.importers]
	count(importers) > 0
}

mask contains {"op": "upsert", "path": "/input/job/transfer/mechanisms", "value": mechanisms} if {
	mechanisms := [object.union(mechanism, {"importer": covered}) | some mechanism in job.transfer.mechanisms]
	count(mechanisms) > 0
}

mask contains {"op": "upsert", "path": "/input/job/technology/licences", "value": licences} if {
	licences := [object.union(licence, {"id": covered, "end_users": [covered | some user in licence.end_users]}) |
		some licence in job.technology.licences
	]
	count(licences) > 0
}

mask contains {"op": "upsert", "path": concat("", ["/result/", name]), "value": shown(said)} if {
	some name, said in input.result
	name in {"reasons", "reasons_elsewhere"}
	counting(said)
}

mask contains {"op": "upsert", "path": "/result/verdicts", "value": verdicts} if {
	verdicts := [object.union(verdict, {"reasons": shown(verdict.reasons)}) | some verdict in input.result.verdicts]
	some verdict in input.result.verdicts
	counting(verdict.reasons)
}

# The question for this very document holds a whole decision: where an OPA logs its questions, nothing of it is shown.
mask contains "/input" if input.path == "system/log/mask"

mask contains "/result" if input.path == "system/log/mask"

counts := {"records", "sum"}

counting(reasons) if {
	some reason in reasons
	some name, _ in reason.parameters
	name in counts
}

shown(reasons) := [object.union(reason, {"parameters": parameters}) |
	some reason in reasons
	parameters := {name: cover(name, value) | some name, value in reason.parameters}
]

cover(name, value) := covered if {
	name in counts
} else := value
