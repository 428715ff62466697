public class Main {
    static int inner(int x) { return 1 / x; }
    public static void main(String[] args) { try { inner(0); } catch (ArithmeticException e) { throw new IllegalStateException("outer", e); } }
}
