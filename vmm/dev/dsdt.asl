/*
 * dsdt.asl - the differentiated description table of every guest: what cannot be found by probing.
 * Compiled into build/gen/vmm/dev/dsdt.hex, which vacpi_tables.c includes.
 */
DefinitionBlock ("", "DSDT", 2, "PATCHB", "PATCHBAY", 0x00000001)
{
    /* PM1 control's SLP_TYP for soft-off: VACPI_S5_TYPE */
    Name (\_S5, Package (4) { 0x05, 0x05, 0x00, 0x00 })

    Scope (\_SB)
    {
        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Method (_STA) { Return (0x0F) }
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
                IRQNoFlags () { 4 }
            })
        }

        Device (RTC)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
                IRQNoFlags () { 8 }
            })
        }

        Device (TIMR)
        {
            Name (_HID, EisaId ("PNP0100"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0040, 0x0040, 0x01, 0x04)
                IRQNoFlags () { 0 }
            })
        }
    }
}
