#!/bin/sh
# Cargo calls this for the crates of the workspace (RUSTC_WORKSPACE_WRAPPER): the compiler, with the
# instrumentation that libFuzzer reads (as cargo-fuzz sets it), and with all assertions. Dependencies are
# those of any release build, and build scripts are not linked with libFuzzer.
case " $* " in
*" --crate-name build_script"* | *" -vV "* | *" --print="*) exec "$@" ;;
esac
exec "$@" \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
    -Ccodegen-units=1 \
    -Cdebug-assertions \
    -Coverflow-checks
