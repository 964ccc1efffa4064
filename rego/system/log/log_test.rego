package system.log_test

import data.system.log

test_nothing_is_masked_by_default if log.mask == set() with data.config as {}

test_data_lists_what_is_masked if {
	log.mask == {"/input/arguments/body"} with data.config.mask as ["/input/arguments/body"]
}

test_nothing_is_dropped if log.drop == false
