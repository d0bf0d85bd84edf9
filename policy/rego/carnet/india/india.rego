# METADATA
# title: India, payment data (RBI) and transfers under the DPDP Act
# description: |
#   Payment data is stored in India only. The DPDP Rules let transfers go anywhere but to places that the government names,
#   eighteen months after their notification; it has named none.
# scope: package
package carnet.india

import data.carnet.links
import data.carnet.places

territory := {"IN"}

default linked := false

linked if links.exporter_in(territory)

default paid := false

paid if {
	"payment_card" in input.job.data.classes
	linked
}

default told := false

told if linked

# METADATA
# title: Payment data of India stays in India
# custom:
#   id: IN-RBI-PAYMENT
#   stage: job
#   effect: deny
#   citations: [C-IN-RBI]
#   effective_from: "2018-10-15"
#   effective_to: null
#   exemptible: true
#   severity: high
#   owner: sector
#   review_by: "2027-05-22"
#   status: in_force
blocked["IN-RBI-PAYMENT"] := places.with_regions({country | paid; some country in (places.countries - territory)})

explained["IN-RBI-PAYMENT"] := {"message": "india.payment", "parameters": {}, "fix": ["india.fix.home"]}

# METADATA
# title: The government may name places to which no personal data goes
# custom:
#   id: IN-DPDP-16
#   stage: job
#   effect: warn
#   citations: [C-IN-DPDP]
#   effective_from: "2027-05-13"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
warned["IN-DPDP-16"] := {country | told; some country in (places.countries - territory)}

explained["IN-DPDP-16"] := {"message": "india.transfer", "parameters": {}, "fix": ["india.fix.list"]}

dates := set()

rows := set()
