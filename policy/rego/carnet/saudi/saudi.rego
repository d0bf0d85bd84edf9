# METADATA
# title: Saudi Arabia, transfers under the PDPL
# description: |
#   No list of adequate countries was published when this was read: a transfer takes standard clauses or binding rules, with a
#   risk assessment.
# scope: package
package carnet.saudi

import data.carnet.gdpr
import data.carnet.links
import data.carnet.places

territory := {"SA"}

default applies := false

applies if {
	gdpr.personal
	links.exporter_in(territory)
}

applies if {
	gdpr.personal
	links.subject_in(territory)
}

opened := {country | some mechanism in links.usable({"SA_CLAUSES", "SA_BINDING"}); some country in mechanism.countries}

# METADATA
# title: No transfer out of Saudi Arabia without a basis
# custom:
#   id: SA-PDPL-29
#   stage: job
#   effect: deny
#   citations: [C-SA-PDPL]
#   effective_from: "2024-09-14"
#   effective_to: null
#   exemptible: true
#   severity: high
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
blocked["SA-PDPL-29"] := places.with_regions({country |
	applies
	some country in places.countries
	not country in (territory | opened)
})

explained["SA-PDPL-29"] := {"message": "saudi.no_basis", "parameters": {}, "fix": ["saudi.fix.mechanism"]}

dates := {day | applies; some day in links.mechanism_dates}

rows := set()
