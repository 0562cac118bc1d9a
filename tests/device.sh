# Sourced by t_device_*.sh: every op and the small models on one device. $1: what --device takes; $2: chunks for the models.
# The golden models beside the checkout (../shared/golden) are run where they are, on the host always, on other devices by `make bigcheck`.
here=${srcdir:-.}/tests
models="$here/data/tiny-float $here/data/tiny-quant"
run() { echo "== $*"; "$@" || { echo "FAILED with $?: $*"; failed=1; }; }
run_if_can() { echo "== $*"; "$@"; case $? in 0 | 77) ;; *) echo "FAILED: $*"; failed=1 ;; esac; }

device() {
  failed=0
  KOINE_TEST_DEVICE=$1
  KOINE_TEST_CHUNKS=$2
  export KOINE_TEST_DEVICE KOINE_TEST_CHUNKS
  ./tests/t_golden $models
  case $? in 0) ;; 77) exit 77 ;; *) failed=1 ;; esac
  run ./tests/t_tile "$here/data/tiny-float" "$here/data/tiny-quant"
  run ./tests/t_ops
  [ -n "${KOINE_TEST_SMALL-}" ] || run_if_can ./tests/t_record
  run ./tests/t_session "$here/data/tiny-quant"
  run ./tests/t_saved "$here/data/tiny-quant"
  [ -n "${KOINE_TEST_SMALL-}" ] || run ./tests/t_rewind "$here/data/tiny-quant"
  return $failed
}
