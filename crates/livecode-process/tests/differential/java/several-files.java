public class Main { public static void main(String[] args) { System.out.println(shapes.Circle.area(1)); } }
//== shapes/Circle.java
package shapes;
public class Circle { public static double area(double radius) { return Math.PI * radius * radius; } }
