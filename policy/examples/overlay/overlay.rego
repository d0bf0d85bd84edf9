# METADATA
# title: What the Klinikum asks of its own jobs
# description: An example of an overlay. It adds to the law and to Carnet's floor, and takes nothing away.
# scope: package
package carnet.org.klinikum

import data.carnet.places

genetic if "genetic" in input.job.data.classes

# METADATA
# title: Genetic data never goes to Singapore
# description: The ethics board said so in 2026. It holds whatever basis for a transfer there may be.
# custom:
#   id: KLINIKUM-GENETIC
#   stage: job
#   effect: deny
#   citations: [C-KLINIKUM-ETHICS, C-GDPR-9]
#   effective_from: "2026-01-01"
#   effective_to: null
#   exemptible: true
#   severity: high
#   owner: ethics board
#   review_by: "2027-05-22"
#   status: in_force
blocked["KLINIKUM-GENETIC"] := places.with_regions({place | genetic; some place in {"SG"}})

explained["KLINIKUM-GENETIC"] := {
	"message": "klinikum.genetic",
	"parameters": {},
	"fix": ["klinikum.fix.elsewhere"],
}

# METADATA
# title: Genetic data takes the approval of one other person
# custom:
#   id: KLINIKUM-APPROVAL
#   stage: job
#   effect: oblige
#   citations: [C-KLINIKUM-ETHICS]
#   effective_from: "2026-01-01"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: ethics board
#   review_by: "2027-05-22"
#   status: in_force
obliged["KLINIKUM-APPROVAL"] := {duty |
	genetic
	some duty in [{"type": "approval", "value": quorum}]
}

quorum := 1

explained["KLINIKUM-APPROVAL"] := {
	"message": "klinikum.approval",
	"parameters": {"quorum": quorum},
	"fix": [],
}

# METADATA
# title: Genetic data runs in a virtual machine of its own, or better
# custom:
#   id: KLINIKUM-ISOLATION
#   stage: runner
#   effect: deny
#   citations: [C-KLINIKUM-ETHICS, C-GDPR-32]
#   effective_from: "2026-01-01"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: ethics board
#   review_by: "2027-05-22"
#   status: in_force
passed["KLINIKUM-ISOLATION"] contains i if {
	some i, runner in input.runners
	runner.isolation in {"microvm", "tee"}
}

passed["KLINIKUM-ISOLATION"] contains i if {
	some i, _ in input.runners
	not genetic
}

explained["KLINIKUM-ISOLATION"] := {
	"message": "klinikum.isolation",
	"parameters": {},
	"fix": ["klinikum.fix.runner"],
}
