/* What the log says of a device, as a page: read from the log alone, so that it can be made at any time. */
#ifndef KOI_REPORT_H
#define KOI_REPORT_H
#include "device/machine.h"

/* HTML that is well-formed XML too, with all pictures in it and no address of anything outside. KOINE_ERR_STATE: the device was not measured. */
koine_status koi_report_html(const koine_runtime *rt, size_t i, char **out);
#endif
