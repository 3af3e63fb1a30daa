/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEFT_CLIENT_H
#define WEFT_CLIENT_H
#endif
