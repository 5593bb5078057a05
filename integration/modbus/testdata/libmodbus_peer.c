/* A Modbus server on libmodbus, for the tests of the driver.
 *
 *   libmodbus_peer tcp          listens on a loopback port, and prints it
 *   libmodbus_peer rtu TTY UNIT answers as a unit on a serial line
 *
 * Holding register i holds i, input register i holds i + 10000, coil i is on
 * when i is a multiple of 3, and discrete input i when i is a multiple of 5, all
 * up to 1999. 4500.25 stands at 1500 with the higher word first, as libmodbus's
 * macro for 32 bits has it, and at 1502 with the lower word first, as its
 * modbus_set_float has it. Its helpers that name four bytes are not used: until
 * 3.1.6 they turn the bytes of each register around on the usual machines.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COUNT = 2000 };

static modbus_mapping_t *memory(void) {
  modbus_mapping_t *m = modbus_mapping_new(COUNT, COUNT, COUNT, COUNT);
  if (m == NULL) {
    perror("modbus_mapping_new");
    exit(1);
  }
  for (int i = 0; i < COUNT; i++) {
    m->tab_registers[i] = i;
    m->tab_input_registers[i] = i + 10000;
    m->tab_bits[i] = i % 3 == 0;
    m->tab_input_bits[i] = i % 5 == 0;
  }
  float f = 4500.25f;
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  MODBUS_SET_INT32_TO_INT16(m->tab_registers, 1500, bits);
  modbus_set_float(f, m->tab_registers + 1502);
  return m;
}

/* Answers until the peer is gone. */
static void serve(modbus_t *ctx, modbus_mapping_t *m) {
  uint8_t query[MODBUS_MAX_ADU_LENGTH];
  for (;;) {
    int n = modbus_receive(ctx, query);
    if (n > 0)
      modbus_reply(ctx, query, n, m);
    else if (n == -1 && errno != EMBBADCRC && errno != EMBBADDATA && errno != ETIMEDOUT)
      return;
  }
}

static int serve_tcp(void) {
  modbus_t *ctx = modbus_new_tcp("127.0.0.1", 0);
  if (ctx == NULL) return 1;
  int listener = modbus_tcp_listen(ctx, 4);
  if (listener == -1) {
    fprintf(stderr, "listen: %s\n", modbus_strerror(errno));
    return 1;
  }
  struct sockaddr_in addr;
  socklen_t len = sizeof addr;
  if (getsockname(listener, (struct sockaddr *)&addr, &len) != 0) return 1;
  printf("%d\n", ntohs(addr.sin_port));
  fflush(stdout);
  modbus_mapping_t *m = memory();
  for (;;) {
    if (modbus_tcp_accept(ctx, &listener) == -1) return 1;
    serve(ctx, m);
    modbus_close(ctx);
  }
}

static int serve_rtu(const char *tty, int unit) {
  modbus_t *ctx = modbus_new_rtu(tty, 115200, 'N', 8, 1);
  if (ctx == NULL || modbus_set_slave(ctx, unit) == -1 || modbus_connect(ctx) == -1) {
    fprintf(stderr, "%s: %s\n", tty, modbus_strerror(errno));
    return 1;
  }
  printf("0\n");
  fflush(stdout);
  serve(ctx, memory());
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 2 && strcmp(argv[1], "tcp") == 0) return serve_tcp();
  if (argc == 4 && strcmp(argv[1], "rtu") == 0) return serve_rtu(argv[2], atoi(argv[3]));
  fprintf(stderr, "usage: %s tcp | rtu TTY UNIT\n", argv[0]);
  return 2;
}
