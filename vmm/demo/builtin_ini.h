/* builtin_ini.h - the configuration that runs when there is no patchbay.ini: the demonstration. */
#pragma once

#define BUILTIN_INI_NAME "(built in)"

static const char builtin_ini[] = "[machine]\n"
                                  "exit = on\n"
                                  "\n"
                                  "[vm alpha]\n"
                                  "kernel = builtin:alpha\n"
                                  "format = flat\n"
                                  "memory = 16M\n"
                                  "cmdline = peer=beta pages=1000\n"
                                  "\n"
                                  "[vm beta]\n"
                                  "kernel = builtin:beta\n"
                                  "format = flat\n"
                                  "memory = 16M\n"
                                  "cmdline = peer=alpha pages=1000\n"
                                  "\n"
                                  "[channel alpha beta]\n"
                                  "modes = message, share-ro, donate\n"
                                  "depth = 16\n";
