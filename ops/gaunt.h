/* gaunt.h - rows that only lowering makes, and what the files of the equivariant family share. */
#ifndef TF_GAUNT_H
#define TF_GAUNT_H

#include "anchors.h"
#include "sphere.h"

#endif
