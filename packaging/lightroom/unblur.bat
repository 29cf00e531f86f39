@echo off
rem Lightroom Classic, After Export: deblur the exported files; keep each as NAME.orig.
unblur --in-place -- %*
if errorlevel 1 pause
