# METADATA
# title: What may be asked of OPA
# scope: package
package system.authz_test

import data.system.authz

may(method, path) if authz.allow with input as {"method": method, "path": path}

test_the_questions_and_health_are_allowed if {
	may("POST", ["v1", "data", "carnet", "main", "body"])
	may("POST", ["v1", "data", "carnet", "runners", "answer"])
	may("POST", ["v1", "data", "system", "log", "mask"])
	may("GET", ["health"])
}

test_nothing_is_read_or_uploaded if {
	not may("PUT", ["v1", "policies", "x"])
	not may("PUT", ["v1", "data", "carnet", "main", "body"])
	not may("PATCH", ["v1", "data"])
	not may("DELETE", ["v1", "policies", "x"])
	not may("GET", ["v1", "data", "carnet", "main", "body"])
	not may("GET", ["v1", "policies"])
	not may("PUT", ["v1", "data", "system", "log", "mask"])
	not may("POST", ["v1", "query"])
	not may("POST", ["v1", "compile"])
	not may("POST", ["v1", "data"])
	not may("POST", ["health"])
}
